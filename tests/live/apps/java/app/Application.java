package app;

import java.io.IOException;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;

/** The engine with its REST API and nothing else. It ends when its standard input does. */
@SpringBootApplication
public class Application {
  public static void main(String[] arguments) {
    Thread watchdog = new Thread(Application::haltAtEndOfInput);
    watchdog.setDaemon(true);
    watchdog.start();
    SpringApplication.run(Application.class, arguments);
  }

  private static void haltAtEndOfInput() {
    try {
      while (System.in.read() >= 0) {}
    } catch (IOException ignored) {
      // no input any more: the same
    }
    Runtime.getRuntime().halt(0);
  }
}
