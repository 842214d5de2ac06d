"""The HTML report: complete, self-contained, escaped; and in a real browser."""

import base64
import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import sparsebench.training.chapters  # noqa: F401 — registers its chapters
from sparsebench import cli, records
from sparsebench.analysis.points import points
from sparsebench.commands import compare_layer
from sparsebench.errors import InputError
from sparsebench.records import Store
from sparsebench.views import page, plots, tables
from sparsebench.views.page.chapters import chapters
from sparsebench.views.page.maps import crossover_maps, speedup_maps
from sparsebench.views.page.summary import sentences
from tests.readme_tables import REFERENCE
from tests.sparsebench.factory import case, record, sweep

HOSTILE = '<script>document.title="owned"</script><img src=x onerror=alert(1)>'
TABLE = "table[id$=measurements]"
EVIL = {"id": "beef", "cpu": {"model": HOSTILE}}


class _Tags(HTMLParser):
    """Collects what a browser would fetch, and the text of the page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.text, self.open = [], [], [], []
        self.data = []  # of elements that hold data for the script
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append("data" if ("type", "application/json") in attributes else tag)
        self.addresses += [v for k, v in attributes if k in ("src", "href", "srcset", "action")]
        if tag not in ("meta", "link", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"] and self.tags[-1] == "data":
            self.data.append(json.loads(data))
        elif not self.open or self.open[-1] not in ("style", "script"):
            self.text.append(data)


def write(folder, found):
    with Store(folder) as store:
        for each in found:
            store.append(each)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page about two machines, one with a hostile name, and a failed case."""
    root = tmp_path_factory.mktemp("page")
    options = {"widths": (512, 2048), "implementations": ("dense", "ours", "peer")}
    options["phases"] = ("inference", "train_step")
    failed = record(None, implementation="peer", status="oom", message=f"no memory {HOSTILE}",
                    batch=7)  # fmt: skip
    write(root / "one" / "mine", [*sweep(**options), failed])
    # So that there is less to draw.
    options = {"widths": (512,), "batches": (1,), "sparsities": (0.9,), "phases": ("inference",)}
    write(root / "two" / "mine", sweep(**options, machine=EVIL))
    chapters = page.write([root], root / "out" / "report.html")
    assert [chapter.name for chapter in chapters] == ["mine"]
    return root / "out" / "report.html"


@pytest.fixture(scope="module")
def parsed(written):
    tags = _Tags(written.read_text(encoding="utf-8"))
    assert tags.open == []
    return tags


def test_it_needs_no_network(written, parsed):
    assert parsed.addresses
    assert all(address.startswith(("#", "data:")) for address in parsed.addresses)
    text = written.read_text(encoding="utf-8")
    without_images = re.sub(r'src="data:[^"]*"', "", text)
    assert "http://" not in without_images
    assert "https://" not in without_images
    assert written.stat().st_size < 1_000_000


def test_text_from_records_is_text(parsed):
    assert parsed.tags.count("script") == 1
    assert "onerror" not in " ".join(parsed.tags)
    assert any(HOSTILE in piece for piece in parsed.text)


def test_every_section_is_there(parsed):
    text = " ".join(" ".join(parsed.text).split())
    for words in (
        "What is fastest?", "Where sparse pays", "Speed-up over dense", "Time", "Memory",
        "League of implementations", "Cases without a time", "no memory", "All measurements",
        "Machines and software", "Anvil 9000", "sparsebench compare-linear",
    ):  # fmt: skip
        assert words in text, words
    assert parsed.tags.count("img") >= 8


# What the page has as maps, in which all sparsities are.
MAPPED = {"speedup", "crossover"}


@pytest.mark.parametrize("folder", ["amd-zen3/structures", "nvidia-h200/gpu", "peers"])
def test_every_table_is_in_a_section(folder, monkeypatch):
    monkeypatch.setattr(plots, "figures", lambda found: iter(()))
    source = REFERENCE / folder
    (chapter,) = chapters([source])
    made = {t.name for t in tables.tables(points(records.load(source)))}
    assert {t.name for section in chapter.sections for t in section.tables} == made - MAPPED


def test_every_kind_of_figure_is_in_a_section(monkeypatch):
    files = Path(plots.__file__).parent.glob("*.py")
    texts = [file.read_text(encoding="utf-8") for file in files]
    named = r'"([a-z]+)(?:-\{|", )part\.name'
    kinds = {kind for text in texts for kind in re.findall(named, text)}
    assert {"headline", "structures", "layers", "zeros", "matrices", "crossover"} <= kinds
    kinds.add("k")  # winners, which are named after times
    every = [(f"{kind}-x", Figure()) for kind in kinds]
    monkeypatch.setattr(plots, "figures", lambda found: iter(every))
    monkeypatch.setattr(tables, "tables", lambda found: iter(()))
    (chapter,) = chapters([REFERENCE / "headline"])
    shown = [name for section in chapter.sections for name, _ in section.figures]
    assert sorted(shown) == sorted(name for name, _ in every)


def test_sentences_say_what_the_records_hold():
    """`ours` takes twice its density of the dense time: it pays from 50%, at 90% five times."""
    (said,) = sentences(points(sweep(phases=("train_step",), sparsities=(0.4, 0.9)))).values()
    assert said[0].startswith("A training step of a 4096-wide layer at batch 1 pays from 50%")
    assert re.search(r"at 90% it is 5\.0× \(.*–.*\) as fast as dense", said[0])
    (said,) = sentences(points(sweep(phases=("inference",), sparsities=(0.2,)))).values()
    only = r"does not pay at 20%, the only sparsity measured; there it is 1\.6× \(.*\) slower"
    assert re.search(only, said[0])


def test_the_explorer_knows_every_problem_and_what_is_sure(parsed):
    (data,) = (found for found in parsed.data if "problems" in found)
    words, fields = data["words"], data["fields"]
    where = {words[values[fields.index("where")]] for values, *_ in data["problems"]}
    assert where == {"Anvil 9000, 2 threads", f"{HOSTILE}, 2 threads"}
    for values, _, rows in data["problems"]:
        seconds = [row[4][0] for row in rows if row[4]]
        assert seconds == sorted(seconds)
        if values[fields.index("sparsity")] == 0.9 and values[fields.index("batch")] != 7:
            first = rows[0]
            assert [words[first[n]] for n in (0, 1, 3)] == ["ours", "ok", "win"]
            value, low, high = first[6]
            assert low < value < high
            assert value == pytest.approx(5.0, rel=0.1)
    alone = [rows for _, _, rows in data["problems"] if words[rows[0][1]] == "oom"]
    assert [words[row[2]] for rows in alone for row in rows] == [f"no memory {HOSTILE}"]


def test_maps_hold_crossovers_and_speedups():
    every = points(sweep(widths=(512, 1024), phases=("inference",), sparsities=(0.4, 0.9)))
    (crossings,) = crossover_maps(every)
    assert crossings.columns == ["1", "128"]
    assert [name for name, _ in crossings.rows] == ["512", "1024"]
    assert all(cell.text.startswith("50%") for _, cells in crossings.rows for cell in cells)
    (speedups,) = speedup_maps(every)
    for _, cells in speedups.rows:
        assert [cell.text.split()[0] for cell in cells] == ["0.83×", "5.0×"]
        assert cells[0].heat < 0 < cells[1].heat


def test_nothing_to_report_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no records to report"):
        page.write([tmp_path], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("name", ["advise", "mine"])
def test_a_chapter_names_no_command_that_fails(tmp_path, monkeypatch, name):
    write(tmp_path / name, sweep(widths=(512, 1024), phases=("inference",), batches=(4,)))
    (chapter,) = page.write([tmp_path / name], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"sparsebench run {name}" not in text
    assert "Measure one of these layers yourself: <code>sparsebench compare-linear" in text
    asked = []
    monkeypatch.setattr(compare_layer, "measure", lambda cases, *_, **__: asked.extend(cases))
    monkeypatch.setattr(compare_layer, "load", lambda _: [])
    _, command, *arguments = shlex.split(chapter.command)
    with pytest.raises(InputError, match="no records"):
        cli.command(command).main(arguments, standalone_mode=False)
    measured = {point.case.problem for point in chapter.points}
    assert {case.problem for case in asked} < measured


def test_a_chapter_of_nothing_usual_names_no_command(tmp_path):
    found = sweep(widths=(512,), phases=("inference",), batches=(4,), topology="erdos_renyi")
    write(tmp_path / "mine", found)
    (chapter,) = page.write([tmp_path / "mine"], tmp_path / "report.html")
    assert chapter.command == ""
    assert "yourself:" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_training_has_chapters(tmp_path):
    reference = Path(__file__).parents[3] / "results" / "reference" / "mnist"
    (chapter,) = page.write([reference], tmp_path / "report.html")
    assert chapter.command == "sparsebench train mnist"
    assert "small-world" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser(written):
    webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no Chromium with its chromedriver; on Debian: apt install chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        driver = webdriver.Chrome(options, webdriver.ChromeService(driver))
    except Exception as error:
        pytest.skip(f"Chromium does not start here: {error}")
    driver.get(written.as_uri())
    yield driver
    driver.quit()


def test_a_browser_draws_filters_and_sorts(browser):
    drawn = browser.execute_script(
        "return [...document.images].map((i) => i.complete && i.naturalWidth > 100)"
    )
    assert drawn
    assert all(drawn)
    assert browser.title == "sparsebench report"  # the script in a machine's name did not run

    def rows():
        return browser.execute_script(
            "return [...document.querySelector('table[id$=measurements]').tBodies[0].rows].filter("
            "(row) => row.offsetParent).map((row) => [...row.cells].map((c) => c.innerText))"
        )

    heads = browser.execute_script(
        f"return [...document.querySelectorAll('{TABLE} th')].map((h) => h.innerText)"
    )
    everything = rows()
    browser.find_element("css selector", "input[data-table$=measurements]").send_keys(
        "ours 2048 90%"
    )
    filtered = rows()
    assert 0 < len(filtered) < len(everything)
    assert {row[heads.index("implementation")] for row in filtered} == {"ours"}
    tools = ".searchable:has(table[id$=measurements]) output"
    assert browser.find_element("css selector", tools).text == (
        f"{len(filtered)} of {len(everything)} rows"
    )
    units = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}
    button = browser.find_elements("css selector", "table[id$=measurements] th button")[
        heads.index("time")
    ]
    for reverse in (False, True):
        button.send_keys("\n")  # by keyboard
        times = [row[heads.index("time")].split()[:2] for row in rows()]  # without intervals
        seconds = [float(number) * units[unit] for number, unit in times]
        assert seconds == sorted(seconds, reverse=reverse)
        assert len(set(seconds)) > 1

    wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    browser.set_window_size(400, 800)  # a phone's, or as narrow as a window can be
    assert browser.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0
    errors = [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
    assert errors == []


def test_the_explorer_answers_and_says_how_to_measure_it_again(browser, monkeypatch):
    def chosen(**values):
        for name, value in values.items():
            browser.execute_script(
                "const s = document.querySelector(`select[name=${arguments[0]}]`);"
                "s.value = arguments[1]; s.dispatchEvent(new Event('change', {bubbles: true}))",
                name, value,
            )  # fmt: skip
        return browser.find_element("css selector", ".answer").text

    text = chosen(where="Anvil 9000, 2 threads", phase="train_step", layer="2048", sparsity="0.99")
    assert "ours is the fastest" in text
    assert re.search(r"50× \(.*\) as fast as dense", text)
    assert "sure The 95% intervals" in text
    assert browser.find_elements("css selector", ".both svg circle title")
    assert "layer=2048" in browser.execute_script("return location.hash")
    command = shlex.split(browser.find_element("css selector", ".answer code").text)
    command[command.index("--implementation") + 1] = "ours,dense"  # `peer` is made up
    asked = []
    monkeypatch.setattr(compare_layer, "measure", lambda cases, *_, **__: asked.extend(cases))
    monkeypatch.setattr(compare_layer, "load", lambda _: [])
    with pytest.raises(InputError, match="no records"):
        cli.command(command[1]).main(command[2:], standalone_mode=False)
    assert {c.implementation for c in asked} == {"ours", "dense"}
    assert {c.problem for c in asked} == {
        case(width=2048, batch=asked[0].batch, sparsity=0.99, phase="train_step").problem
    }
    text = chosen(layer="1024", batch="7")
    assert "No time that would decide anything" in text
    assert "no memory <script>" in text


def test_a_plot_can_be_enlarged_and_read_off(browser):
    button = next(
        button
        for button in browser.find_elements("css selector", "button.enlarge")
        if "speedup" in button.get_attribute("aria-label")
    )
    browser.execute_script("arguments[0].click()", button)
    _, _, right, bottom, x, y = json.loads(button.get_attribute("data-axes"))[0]
    assert (x[0], y[0]) == ("sparsity", "×")
    said = browser.execute_script(
        "const image = document.querySelector('.picture img'), box = image.getBoundingClientRect();"
        "image.parentElement.dispatchEvent(new PointerEvent('pointermove', {"
        "clientX: box.left + arguments[0] * box.width, clientY: box.top + arguments[1] * box.height"
        "})); return document.querySelector('#enlarged output').textContent",
        right, bottom,
    )  # fmt: skip
    sparsity, speedup = re.fullmatch(r"([\d.]+)% sparsity, ([\d.]+)×", said).groups()
    assert float(sparsity) == pytest.approx(100 * (1 - x[2]), abs=0.1)
    assert float(speedup) == pytest.approx(y[1], rel=0.01)
    browser.execute_script("document.querySelector('#enlarged .close').click()")
    assert not browser.execute_script("return document.getElementById('enlarged').open")


def test_it_prints_on_a_few_sheets(browser):
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) < 20


def test_many_points_are_a_picture_of_few_bytes_and_few_points_stay_sharp():
    import numpy as np
    from matplotlib.figure import Figure

    from sparsebench.views.page.images import image

    def drawn(count):
        figure = Figure(figsize=(4, 3))
        figure.subplots().plot(np.random.default_rng(0).random(count), "o")
        return image(figure).address

    assert drawn(10).startswith("data:image/svg+xml;base64,")
    many = drawn(5000)
    assert many.startswith("data:image/webp;base64,")
    assert len(many) < 200_000
