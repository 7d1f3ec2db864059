"""The handlers that come with the gateway. Each is one module with `install(app, options)`, like anybody else's."""
