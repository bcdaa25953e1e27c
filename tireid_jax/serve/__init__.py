"""A web page to search a gallery with: `python -m tireid_jax.serve`, or `serve.app.make_app` as an ASGI application."""
