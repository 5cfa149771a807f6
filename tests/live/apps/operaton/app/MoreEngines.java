package app;

import java.util.ArrayList;
import java.util.List;
import org.operaton.bpm.container.RuntimeContainerDelegate;
import org.operaton.bpm.engine.ProcessEngine;
import org.operaton.bpm.engine.impl.cfg.StandaloneInMemProcessEngineConfiguration;
import org.springframework.beans.factory.DisposableBean;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.stereotype.Component;

/** Other process engines of the server, as NAME:HISTORY_LEVEL, each with a database of its own in memory. */
@Component
@ConditionalOnProperty("tests.more-engines")
class MoreEngines implements DisposableBean {
  private final List<ProcessEngine> engines = new ArrayList<>();

  MoreEngines(@Value("${tests.more-engines}") List<String> wanted) {
    for (String one : wanted) {
      String[] parts = one.split(":");
      var configuration = new StandaloneInMemProcessEngineConfiguration();
      configuration.setProcessEngineName(parts[0]);
      configuration.setHistory(parts[1]);
      configuration.setJdbcUrl("jdbc:h2:mem:" + parts[0] + ";DB_CLOSE_DELAY=-1");
      configuration.setJobExecutorActivate(true);
      engines.add(configuration.buildProcessEngine());
      RuntimeContainerDelegate.INSTANCE.get().registerProcessEngine(engines.get(engines.size() - 1));
    }
  }

  @Override
  public void destroy() {
    engines.forEach(ProcessEngine::close);
  }
}
