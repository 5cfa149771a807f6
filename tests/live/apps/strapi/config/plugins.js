module.exports = { 'users-permissions': { config: { jwtSecret: 'of users' } } };
