// A company's own Verdaccio plugin, written for version 5: tells in a header who downloads.
//
// Version 5 runs plugins before it reads the token, so nobody is known here and everyone is
// 'anonymous'. Version 6 reads the token first and gives an anonymous client a user without a name:
// `name.toLowerCase()` throws, and the client gets a 500. Downloads with a token go well, and so
// does everything that is no download. Nothing is planted: the upgrade itself breaks the plugin.

'use strict';

const TARBALL = /\/-\/[^/]+\.tgz$/;

module.exports = function downloads() {
  return {
    register_middlewares(app) {
      app.use((request, response, next) => {
        if (TARBALL.test(request.path)) {
          const user = request.remote_user;
          response.setHeader('x-downloaded-by', user ? user.name.toLowerCase() : 'anonymous');
        }
        next();
      });
    },
  };
};
