// Nothing here is secret: each server runs for one test, on loopback.
module.exports = {
  serveAdminPanel: false,
  auth: { secret: 'of sessions' },
  apiToken: { salt: 'of secrets' },
  transfer: { token: { salt: 'of transfers' } },
  secrets: { encryptionKey: '0123456789abcdef0123456789abcdef' },
};
