"""A web page to search a gallery with: `python -m tireid_jax.serve`; as an ASGI application `make_app` of `serve.app`."""
