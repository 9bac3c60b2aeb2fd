import shutil

import pytest

pytest.importorskip("plotly")
from tunesmith import plots
from tunesmith.errors import ConfigError, TunesmithError
from tunesmith.plots.figure import make_figure

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def test_an_html_file_needs_no_network(tmp_path):
    text = plots.save(make_figure("A title"), tmp_path / "figure.html").read_text(encoding="utf-8")
    assert "A title" in text
    assert 'src="http' not in text


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"ends in \.html"):
        plots.save(make_figure("A title"), tmp_path / "figure.bmp")


def test_without_a_browser_it_is_said_what_is_needed(tmp_path, monkeypatch):
    pytest.importorskip("kaleido")
    figure = make_figure("A title")

    def raise_error(*_args, **_kwargs):
        raise RuntimeError("\n\nKaleido requires Google Chrome to be installed.\n")

    monkeypatch.setattr(type(figure), "to_image", raise_error)
    with pytest.raises(TunesmithError, match=r"requires Google Chrome .* apt-get install chromium"):
        plots.save(figure, tmp_path / "figure.png")
    assert not (tmp_path / "figure.png").exists()


@pytest.mark.processes
@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no Chrome or Chromium")
def test_a_png_is_drawn_in_the_size_asked_for(tmp_path):
    pytest.importorskip("kaleido")
    data = plots.save(make_figure("A title"), tmp_path / "figure.png", width=400, height=300, scale=2).read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (800, 600)
