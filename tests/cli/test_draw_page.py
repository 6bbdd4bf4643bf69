"""The page of `draw` in a real browser: it searches, shows what is chosen, and runs nothing but its own script."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.cli.browser import Browser, find_browser
from tests.cli.records import call

# Names that would be markup, or end the script, if anything were not escaped.
HOSTILE = "</script><img src=x onerror=alert(1)>\\\"'&"
NET = f"""
name: "a <b>net</b>"
input: "data" input_shape {{ dim: 1 dim: 3 dim: 12 dim: 16 }}
layer {{ name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param {{ num_output: 20 kernel_size: 3 stride: 2 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }}
layer {{ name: "{HOSTILE}" type: "Pooling" bottom: "conv1" top: "{HOSTILE}" pooling_param {{ kernel_size: 2 }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "{HOSTILE}" top: "fc"
  inner_product_param {{ num_output: 4 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "prob" type: "Softmax" bottom: "fc" top: "prob" }}
"""
VISIBLE = (
    "[...document.querySelectorAll('tr[data-layer]')].filter((row) => !row.hidden).map((row) => row.dataset.layer)"
)
DETAILS = "[...document.querySelectorAll('article')].filter((one) => one.offsetParent).map((one) => one.innerText)"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "net.prototxt").write_text(NET)
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    cv2.imwrite(str(folder / "picture.png"), picture)
    (folder / "names.txt").write_text("cat\n<i>dog</i>\nbird\nfish\n")
    options = ("--random-weights", "--image", folder / "picture.png", "--labels", folder / "names.txt")
    call("draw", folder / "net.prototxt", *options, "-o", folder / "page.html")
    return folder / "page.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture
def tab(browser, page):
    tab = browser.open(page.as_uri())
    yield tab
    assert tab.faults() == []
    assert tab.requests() == [page.as_uri()]


@pytest.mark.parametrize(
    ("wanted", "outcome"),
    [("required", pytest.fail.Exception), ("", pytest.skip.Exception), (None, pytest.skip.Exception)],
)
def test_without_a_browser(wanted, outcome, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CAFFECOMPAT_BROWSER", raising=False)
    if wanted is not None:
        monkeypatch.setenv("CAFFECOMPAT_BROWSER", wanted)
    with pytest.raises(outcome, match="make browser"):
        find_browser()


@pytest.mark.slow
def test_search(tab):
    assert tab.value(VISIBLE) == ["0", "1", "2", "3", "4", "5"]
    tab.press("/")
    assert tab.value("document.activeElement.id") == "search"
    tab.type("CONV1 re")
    assert tab.value(VISIBLE) == ["2"], "by name, type and blob: the ReLU, and nothing else"
    assert tab.value("document.getElementById('count').innerText") == "1 of 6 layers"
    faint = "[...document.querySelectorAll('g.layer')].filter((box) => getComputedStyle(box).opacity < 1).length"
    assert tab.value(faint) == 5
    tab.press("Enter", 13)
    (shown,) = tab.value(DETAILS)
    assert shown.startswith("relu1\n")
    tab.press("Escape", 27)
    assert len(tab.value(VISIBLE)) == 6
    assert tab.value(faint) == 0
    tab.type("nothing of the kind")
    assert tab.value(VISIBLE) == []


@pytest.mark.slow
def test_a_click_shows_the_layer(tab):
    assert tab.value(DETAILS) == []
    tab.click("g.layer[data-layer='1']")
    (shown,) = tab.value(DETAILS)
    assert shown.startswith("conv1\n\nConvolution (convolution), layer 2, in TEST\n")
    for text in ("1x20x5x7", "20x3x3x3", "540", "18,900", "relu1", "num_output: 20", "channels 0 to 15 of 20"):
        assert text in shown, text
    assert tab.value("location.hash") == "#layer-1"
    loaded = "[...document.querySelectorAll('article.chosen img')].map((one) => one.complete && one.naturalWidth)"
    assert tab.value(loaded) == [4 * 72 + 3 * 2]
    # A link leads on, a row of the table too.
    tab.click("article.chosen a[href='#layer-2']")
    assert tab.value(DETAILS)[0].startswith("relu1\n")
    tab.click("tr[data-layer='4']")
    (shown,) = tab.value(DETAILS)
    assert shown.startswith("fc\n")
    assert tab.value("document.querySelectorAll('g.layer.chosen, tr.chosen').length") == 2
    seen = cv2.imdecode(np.frombuffer(tab.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    assert seen.std() > 10


@pytest.mark.slow
def test_hostile_names_are_texts(tab):
    tab.click("g.layer[data-layer='3']")
    (shown,) = tab.value(DETAILS)
    assert shown.startswith(HOSTILE.replace("\\", "")[:50])
    assert tab.value("document.scripts.length") == 1
    assert tab.value("document.querySelectorAll('b, img[src=x], i').length") == 0
    assert tab.value("document.querySelector('h1').innerText") == "a <b>net</b>"
    assert "<i>dog</i>" in tab.value("document.body.innerText")


@pytest.mark.slow
def test_names_fit_their_boxes(browser, tmp_path):
    """In the letters of a real browser, wide ones too."""
    net = tmp_path / "net.prototxt"
    names = ("conv4_3_norm_mbox_loc_perm", "W" * 20, "MMMMMM", "i" * 60)
    layer = 'layer {{ name: "{0}" type: "ReLU" bottom: "data" top: "{0}" }}'
    net.write_text('input: "data" input_shape { dim: 1 dim: 8 } ' + "".join(map(layer.format, names)))
    call("draw", net, "-o", tmp_path / "page.html")
    tab = browser.open((tmp_path / "page.html").as_uri())
    beyond = (
        "[...document.querySelectorAll('g.layer')].flatMap((layer) => [...layer.querySelectorAll('text')]"
        ".map((text) => [text.textContent, text.getBBox().width - layer.querySelector('rect').getBBox().width]))"
        ".filter((found) => found[1] > 0)"
    )
    assert tab.value(beyond) == []


@pytest.mark.slow
def test_the_address_chooses_a_layer_and_dark_pages_are_dark(browser, page):
    tab = browser.open(f"{page.as_uri()}#layer-5")
    assert tab.value(DETAILS)[0].startswith("prob\n")
    fill = "getComputedStyle(document.querySelector('#drawing rect.convolution')).fill"
    assert tab.value(fill) == "rgb(207, 226, 255)"
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert tab.value(fill) == "rgb(29, 58, 102)"
    assert tab.faults() == []


@pytest.mark.slow
def test_the_policy_refuses_any_other_script(browser, page, tmp_path):
    """The browser check can fail: a script that got into the page does not run, and this is seen."""
    changed = tmp_path / "changed.html"
    changed.write_text(page.read_text().replace("</body>", "<script>document.title = 'run'</script></body>"))
    tab = browser.open(changed.as_uri())
    assert tab.value("document.title") == "a <b>net</b>"
    assert any("Content Security Policy" in str(fault) for fault in tab.faults())
