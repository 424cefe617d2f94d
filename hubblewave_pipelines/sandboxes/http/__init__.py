"""The HTTP sandbox: a plain JSON API in every pagination style, for rehearsing a connector of type custom."""

from hubblewave_pipelines.sandboxes.http.shop import Shop
from hubblewave_pipelines.sandboxes.vendor import Options


def build(options: Options) -> Shop:
    return Shop(options)
