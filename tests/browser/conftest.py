"""The page in a browser: a server in this process, on a random model and ToyPEDES, and a chromium without a profile."""

import contextlib
import shutil
import threading
import types

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
# Generous, since it only says how long a failing test takes.
TIMEOUT_MS = 60_000


@contextlib.contextmanager
def serving(app):
  """Serves an application on a free port of this machine; yields its address."""
  import uvicorn

  from tireid_jax.serve.__main__ import listen

  listener = listen("127.0.0.1", 0)
  server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1))
  thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
  thread.start()
  try:
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
  finally:
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def site(tmp_path_factory):
  """A served gallery: folder, run, prepared data, captions of the test split, Searcher, url."""
  from tests.browser import sites

  folder = tmp_path_factory.mktemp("site")
  made = sites.make(folder)
  with serving(made.app) as url:
    yield types.SimpleNamespace(**vars(made), url=url)


@pytest.fixture
def guarded(site):
  """The same gallery with a token: url, token."""
  from tireid_jax.serve.app import make_app
  from tireid_jax.serve.settings import Settings

  token = "t" * 32
  with serving(make_app(site.searcher, Settings(token=token))) as url:
    yield types.SimpleNamespace(url=url, token=token)


@pytest.fixture(scope="session")
def chromium():
  from playwright.sync_api import expect, sync_playwright

  expect.set_options(timeout=TIMEOUT_MS)
  executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
  assert executable, f"the tests of the page need a browser on PATH: one of {', '.join(CHROMIUM)}"
  with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=executable, args=FLAGS, timeout=TIMEOUT_MS)
    yield browser
    browser.close()


@pytest.fixture
def open_page(chromium, site):
  """Returns a function that opens a page in a fresh profile; at the end, no page may have reported an error."""
  contexts, errors = [], []

  def open_at(path="/", *, url=None, **options):
    context = chromium.new_context(base_url=url or site.url, **options)
    context.set_default_timeout(TIMEOUT_MS)
    contexts.append(context)
    page = context.new_page()
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path)
    page.wait_for_selector("#results[aria-busy=false]", state="attached")
    return page

  open_at.errors = errors
  yield open_at
  for context in contexts:
    context.close()
  assert errors == []
