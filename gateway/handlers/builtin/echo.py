"""`echo`: GET, POST and PUT on /echo give the payload back, with its content format."""

from collections.abc import Mapping

from gateway.coap import Code
from gateway.handlers.app import App
from gateway.handlers.loading import known_options
from gateway.handlers.request import Request
from gateway.handlers.response import Response


def install(app: App, options: Mapping[str, object]) -> None:
    """Register the handler; it has no options.

    Raises:
        LoadError: There is an option.
        RouteError: /echo is taken.
    """
    known_options(options)

    @app.route("/echo", methods=["GET", "POST", "PUT"])
    def echo(request: Request) -> Response:
        code = Code.CONTENT if request.method == Code.GET else Code.CHANGED
        return Response(request.payload, code, content_format=request.content_format)
