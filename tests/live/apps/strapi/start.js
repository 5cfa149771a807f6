// Strapi, which ends with its standard input: it does not outlive the tests.
process.stdin.on('end', () => process.exit()).resume();
require('@strapi/strapi').createStrapi({ appDir: __dirname, distDir: __dirname }).start();
