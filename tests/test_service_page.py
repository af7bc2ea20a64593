"""The page, in a real browser: what a person does with it, and what it must not do. Lesson 13."""

import base64
import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from frcnn_lessons.service.uploads import Limits
from helpers.serving import colour_detector, encoded, picture, running

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs a Chromium browser: apt install chromium, or Chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address():
    with running(colour_detector(), Limits(upload_bytes=1_000_000)) as address:
        yield address


@pytest.fixture
def page(browser, address):
    """The page, opened; at the end there must have been no error, and no request to anywhere else."""
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    page = context.new_page()
    wrong, asked = [], []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    expect(page.locator("#knows")).to_contain_text("red, blue")
    yield page
    context.close()
    refusals = "Failed to load resource: the server responded with a status of 4"  # the browser's note of a 4xx
    assert [text for text in wrong if not text.startswith(refusals)] == []
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []


def choose(page, data: bytes, kind: str = "image/png") -> None:
    page.set_input_files("#pick", {"name": "a.png", "mimeType": kind, "buffer": data})


def expect_status(page, text: str) -> None:
    expect(page.locator("#status")).to_contain_text(text)


def drawn(page) -> list[tuple[float, float, float, float]]:
    """The boxes as shares of the picture that is seen."""
    return page.evaluate("""() => {
        const seen = document.getElementById('picture').getBoundingClientRect();
        return [...document.querySelectorAll('#boxes .box')].map((one) => {
            const box = one.getBoundingClientRect();
            return [(box.left - seen.left) / seen.width, (box.top - seen.top) / seen.height,
                    (box.right - seen.left) / seen.width, (box.bottom - seen.top) / seen.height];
        });
    }""")


def test_a_chosen_image_gets_its_boxes_where_they_belong(page):
    choose(page, encoded(picture()))
    expect_status(page, "2 found: red, blue.")
    blue, red = drawn(page)  # the surest is drawn last, on top
    assert red == pytest.approx([30 / 300, 40 / 200, 120 / 300, 100 / 200], abs=0.02)
    assert blue == pytest.approx([200 / 300, 60 / 200, 260 / 300, 180 / 200], abs=0.02)
    assert page.locator("#tags li").all_inner_texts() == ["red\n90 %", "blue\n60 %"]
    assert "red, blue" in page.get_attribute("#picture", "alt")


def test_the_slider_needs_no_new_request_and_says_when_nothing_is_left(page):
    choose(page, encoded(picture()))
    expect_status(page, "2 found")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.focus("#threshold")
    for _ in range(5):
        page.keyboard.press("ArrowRight")  # 75 %
    expect_status(page, "1 found: red.")
    page.keyboard.press("End")
    expect_status(page, "No objects.")
    assert page.is_visible("#nothing")
    assert len(drawn(page)) == 0
    assert asked == []


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_an_image_is_dropped_or_pasted(page, way):
    page.evaluate(
        """([data, way]) => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), transfer = new DataTransfer();
            transfer.items.add(new File([bytes], 'a.png', { type: 'image/png' }));
            const options = { bubbles: true, cancelable: true };
            document.dispatchEvent(way === 'drop' ? new DragEvent('drop', { ...options, dataTransfer: transfer })
                : new ClipboardEvent('paste', { ...options, clipboardData: transfer }));
        }""",
        [base64.b64encode(encoded(picture())).decode(), way],
    )
    expect_status(page, "2 found")


def test_the_button_works_with_the_keyboard_and_the_camera_is_offered(page):
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Tab")
        page.wait_for_function("document.activeElement !== document.body")  # and the browser listens for the chooser
        page.keyboard.press("Space")
    chooser.value.set_files({"name": "a.png", "mimeType": "image/png", "buffer": encoded(picture(blue=None))})
    expect_status(page, "1 found: red.")
    assert page.get_attribute("#photograph", "capture") == "environment"


def test_another_format_that_the_browser_reads_is_handed_on(page):
    choose(page, encoded(picture(), "WEBP", lossless=True), "image/webp")
    expect_status(page, "2 found")


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"no image", "not a JPEG or PNG"), (b"", "empty"), (encoded(picture())[:-200], "cannot be read")],
)
def test_what_is_no_image_is_said_to_be_none_and_the_next_one_works(page, data, words):
    choose(page, data)
    expect_status(page, words)
    assert "wrong" in page.get_attribute("#status", "class")
    assert page.is_hidden("#result")
    choose(page, encoded(picture()))
    expect_status(page, "2 found")


def test_no_objects(page):
    choose(page, encoded(picture(red=None, blue=None)))
    expect_status(page, "No objects.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 360])
def test_everyone_can_use_it(page, scheme, width):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    choose(page, encoded(picture(900, 600, (30, 140, 420, 400), (500, 160, 760, 480))))
    expect_status(page, "2 found")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than the screen"
    page.wait_for_timeout(100)
    # Axe's script is put into the page by the test, past the page's policy.
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_the_page_for_programmers_needs_no_network(page, address):
    page.goto(f"{address}/docs")
    expect(page.get_by_text("/tag").first).to_be_visible()
