"""The page as a visitor uses it: what it finds, links and history, filters, uploads, marks, keyboard, accessibility."""

import io
import json
import urllib.request

import numpy as np
import pytest
from PIL import Image

from tests.forked import run as run_command

pytest.importorskip("playwright", reason="not in a browser; `make browser` runs these")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

SENTENCE = "a woman in a red coat and black trousers"
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
# Shown as text, not as an element that runs a script.
HOSTILE = '<img src=x onerror="document.title=1">.png'


def search(page, text=None, *, by=lambda page: page.press("#text", "Enter")):
  """Searches as a visitor does and waits until the results are shown."""
  if text is not None:
    page.fill("#text", text)
  with page.expect_response("**/api/search"):
    by(page)
  page.wait_for_selector("#results[aria-busy=false]", state="attached")


def clicking(selector):
  return lambda page: page.click(selector)


def paths(page):
  """Returns the paths of the results in their order."""
  assert page.locator("#results .rank").all_inner_texts() == [f"#{n + 1}" for n in range(page.locator(".card").count())]
  return page.locator("#results .card a").all_inner_texts()


def call(site, **request):
  body = json.dumps(request).encode()
  headers = {"content-type": "application/json"}
  with urllib.request.urlopen(urllib.request.Request(f"{site.url}/api/search", body, headers)) as response:
    return json.load(response)["results"]


def png(seed):
  stream = io.BytesIO()
  Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 32, 3), np.uint8)).save(stream, "PNG")
  return stream.getvalue()


def test_page_api_and_command_find_the_same_ten_images_in_the_same_order_as_the_searcher(open_page, site):
  expected = [result.path for result in site.searcher.search(SENTENCE, top=10)]
  assert len(expected) == 10 < len(site.searcher)
  page = open_page()
  page.fill("#top", "10")
  search(page, SENTENCE)
  assert paths(page) == expected
  assert [result["path"] for result in call(site, text=SENTENCE, top=10)] == expected
  done = run_command(
    "search", f"--workdir={site.run}", f"--index={site.folder / 'index'}", f"--query={SENTENCE}", "--top=10", "--json"
  )
  assert done.returncode == 0, done.stderr
  assert [result["path"] for result in json.loads(done.stdout)[0]["results"]] == expected


def test_recall_over_all_queries_of_the_page_is_that_of_evaluate(open_page, site):
  done = run_command(
    "evaluate", f"--workdir={site.run}", "--stage=2", "--data=configs/toy.py", f"--data.data_dir={site.data_dir}"
  )
  assert done.returncode == 0, done.stderr
  (row,) = [line for line in done.stdout.splitlines() if line.startswith("text")]
  evaluated = float(row.split()[-3])  # R@1 R@5 R@10 mAP mINP
  page = open_page("/?top=10")
  hits = []
  for caption, person in site.queries:
    search(page, caption)
    hits.append(person in [site.identity_of[path] for path in paths(page)])
  assert 0 < evaluated < 100
  assert round(100 * np.mean(hits), 2) == evaluated


def test_a_result_is_searched_by_and_the_history_leads_back(open_page, site):
  page = open_page()
  search(page, SENTENCE)
  before = paths(page)
  search(page, by=lambda page: page.locator(".picture").nth(2).click())
  assert paths(page)[0] == before[2]
  assert page.input_value("#text") == ""
  expect(page.locator("#chosen")).to_be_visible()
  search(page, "with a backpack")  # a mix
  third = call(site, text=SENTENCE)[2]
  assert paths(page) == [r["path"] for r in call(site, text="with a backpack", image=third["id"], top=20)]
  search(page, by=lambda page: page.go_back())
  search(page, by=lambda page: page.go_back())
  assert (page.input_value("#text"), paths(page)) == (SENTENCE, before)
  expect(page.locator("#chosen")).to_be_hidden()


def test_a_link_shows_the_same_search_to_another_visitor(open_page):
  page = open_page()
  page.click("#filters summary")
  page.select_option("#folders", ["cam_a", "cam_b"])
  page.fill("#top", "7")
  search(page, SENTENCE)
  other = open_page(page.url)
  other.wait_for_selector("#results .card")
  assert paths(other) == paths(page)
  assert other.input_value("#text") == SENTENCE
  assert other.input_value("#top") == "7"


def test_filters_restrict_the_results_until_they_are_cleared(open_page, site):
  page = open_page()
  page.click("#filters summary")
  page.select_option("#folders", "cam_b")
  search(page, SENTENCE)
  expected = [result.path for result in site.searcher.search(SENTENCE, 20) if result.path.startswith("cam_b/")]
  assert paths(page)[: len(expected)] == expected
  assert {path.partition("/")[0] for path in paths(page)} == {"cam_b"}
  expect(page.locator("#filters-count")).to_have_text("1")
  search(page, by=clicking("#filters-clear"))
  assert len(paths(page)) == 20


def test_uploads_are_searched_searched_by_and_deleted(open_page, site):
  page = open_page()
  page.click("#uploads summary")
  files = [{"name": name, "mimeType": "image/png", "buffer": png(n)} for n, name in enumerate(["a.png", HOSTILE])]
  page.set_input_files("#files", files)
  expect(page.locator("#message")).to_have_text("Uploaded 2 pictures. Select one to search by it.")
  search(page, by=lambda page: page.locator("#uploads-list button").nth(1).click())
  assert len(paths(page)) == 20
  search(page, by=lambda page: page.check("#session"))
  assert paths(page) == [HOSTILE, "a.png"]
  assert page.title() == "Person search"
  page.fill("#text", SENTENCE)
  search(page, by=clicking("#chosen-remove"))
  search(page, by=clicking("#uploads-delete"))
  assert paths(page) == [result.path for result in site.searcher.search(SENTENCE, 20)]
  page.reload()
  page.wait_for_selector("#results .card")
  expect(page.locator("#uploads-count")).to_have_text("none")


def test_marks_are_kept_and_exported_as_two_files(open_page, tmp_path):
  page = open_page()
  search(page, SENTENCE)
  expect(page.locator(".marks").first).to_be_hidden()
  page.click("#marks summary")
  found = paths(page)
  for n, mark in enumerate(["this person", "this person", "fits, another person", "wrong", "wrong"]):
    page.locator(".card").nth(n).get_by_role("button", name=mark, exact=True).click()
  page.locator(".card").nth(4).get_by_role("button", name="wrong").click()  # no mark after all
  page.reload()
  page.wait_for_selector("#results .card")
  expect(page.locator("#marks-count")).to_have_text("4")
  page.click("#marks summary")
  downloads = []
  page.on("download", lambda download: downloads.append(download))
  with page.expect_event("download", lambda download: download.suggested_filename == "wrong.jsonl"):
    page.click("#marks-export")
  lines = {}
  for download in downloads:
    download.save_as(tmp_path / "file")
    lines[download.suggested_filename] = [json.loads(line) for line in (tmp_path / "file").read_text().splitlines()]
  assert [line["image"] for line in lines["annotations.jsonl"]] == found[:3]
  first, second, third = (line["id"] for line in lines["annotations.jsonl"])
  assert first == second != third
  assert lines["wrong.jsonl"] == [{"image": found[3], "caption": SENTENCE}]


def test_the_keyboard_alone_searches_moves_marks_and_searches_by_a_result(open_page):
  page = open_page()

  def tab_to(selector):
    for _ in range(40):
      page.keyboard.press("Tab")
      if page.locator(f"{selector}:focus").count():
        return
    pytest.fail(f"the key Tab does not lead to {selector}")

  tab_to("#text")
  page.keyboard.type(SENTENCE)
  search(page, by=lambda page: page.keyboard.press("Enter"))
  found = paths(page)
  tab_to("#marks summary")
  page.keyboard.press("Enter")
  tab_to(".picture")
  for key, at in (("ArrowRight", 1), ("ArrowDown", 8), ("ArrowUp", 1), ("End", 19), ("Home", 0), ("ArrowRight", 1)):
    page.keyboard.press(key)
    assert page.locator(".picture").nth(at).evaluate("element => element === document.activeElement"), key
  page.keyboard.press("3")
  expect(page.locator(".card").nth(1).get_by_role("button", name="wrong")).to_have_attribute("aria-pressed", "true")
  search(page, by=lambda page: page.keyboard.press("Enter"))
  assert paths(page)[0] == found[1]
  assert page.locator("#text:focus").count() == 1


def test_words_that_the_model_was_not_trained_on_are_marked(open_page):
  page = open_page()
  search(page, "a woman with a Zebra")
  assert page.locator("#unseen mark").all_inner_texts() == ["zebra"]
  search(page, "a woman")
  expect(page.locator("#unseen")).to_be_hidden()


def test_a_word_is_shown_in_the_pictures_until_it_is_deselected(open_page):
  page = open_page("/?top=3")
  search(page, SENTENCE)
  assert page.locator("#words-list button").all_inner_texts() == SENTENCE.split()
  word = page.locator("#words-list button").nth(5)
  word.click()
  expect(page.locator("#message")).to_have_text("“coat” in 3 pictures.")
  expect(page.locator(".picture canvas")).to_have_count(3)
  expect(page.locator(".adds").first).to_contain_text("“coat” adds ")
  size = page.locator(".picture canvas").first.evaluate(
    "c => [c.width, c.height, new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size > 10]"
  )
  assert size == [*page.locator(".picture img").first.evaluate("i => [i.naturalWidth, i.naturalHeight]"), True]
  assert Axe().run(page).violations_count == 0
  word.click()
  expect(page.locator(".picture canvas")).to_have_count(0)
  search(page, "coat")
  expect(page.locator("#words")).to_be_hidden()


def test_a_query_that_is_too_long_is_reported(open_page):
  page = open_page()
  search(page, "red " * 90)
  expect(page.locator("#message")).to_contain_text("has 92 tokens, but this model reads 77; shorten it")
  (line,) = open_page.errors
  assert "422" in line
  open_page.errors.clear()


def test_an_example_is_searched_for(open_page):
  page = open_page()
  sentence = page.locator("#examples button").first.inner_text()
  search(page, by=clicking("#examples button"))
  assert page.input_value("#text") == sentence
  expect(page.locator("#examples")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_page_is_accessible_and_fits_the_screen(open_page, size, scheme):
  page = open_page(viewport=size, color_scheme=scheme)

  def check():
    report = Axe().run(page)
    assert report.violations_count == 0, report.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]

  check()
  search(page, f"{SENTENCE} with a zebra")
  for section in ("filters", "uploads", "marks"):
    page.click(f"#{section} summary")
  page.locator(".card").first.get_by_role("button", name="wrong").click()
  check()
  search(page, by=lambda page: page.locator(".picture").nth(1).click())
  check()


def test_the_theme_can_be_chosen_and_is_kept(open_page):
  page = open_page(color_scheme="light")
  background = "getComputedStyle(document.body).backgroundColor"
  light = page.evaluate(background)
  page.click("#theme")
  dark = page.evaluate(background)
  assert dark != light
  page.reload()
  page.wait_for_selector("#results[aria-busy=false]", state="attached")
  assert page.evaluate(background) == dark


def test_a_token_is_requested_once(guarded, open_page):  # the page is closed before the server
  page = open_page(url=guarded.url)
  expect(page.locator("#login")).to_be_visible()
  assert Axe().run(page).violations_count == 0
  page.fill("#token", "wrong")
  page.keyboard.press("Enter")
  expect(page.locator("#login-message")).to_have_text("this is not the token of this server")
  page.fill("#token", guarded.token)
  page.keyboard.press("Enter")
  expect(page.locator("#login")).to_be_hidden()
  search(page, SENTENCE)
  assert len(paths(page)) == 20
  assert guarded.token not in page.url
  assert open_page.errors
  assert all("401" in line for line in open_page.errors)
  open_page.errors.clear()
