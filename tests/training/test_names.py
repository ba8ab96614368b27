"""Users' names reach terminals, figures and TensorBoard as they are, whatever they would mean there."""
import html
import re

import matplotlib.figure
import matplotlib.text
import numpy as np
import pytest
from tensorboard import plugin_util

from training.engine import figures, names, tensorboard

NAMES = ["$5", "a $ b", "$x$", r"$\frac{", "switch [on]", "[/off]", "a *b* _c_", "<b>x</b>", "[x](http://y)", "a|b", "`code`",
         r"back\slash", "&lt;", "_hidden", "#", "größer"]


@pytest.mark.parametrize("name", NAMES)
def test_markdown_shows_a_name_as_it_is(name):
    shown = plugin_util.markdown_to_safe_html(f"| {names.markdown(name)} | other |\n|---|---|\n| **{names.markdown(name)}** | 1 |")
    cells = re.findall(r"<t[hd]>(.*?)</t[hd]>", shown.replace("<strong>", "").replace("</strong>", ""))
    assert [html.unescape(cell) for cell in cells] == [name, "other", name, "1"]


def test_a_name_is_one_line_that_a_terminal_does_not_act_upon():
    assert names.one_line(" two\n lines\tand \x1b[31m\x00 more\udcff") == "two lines and ?[31m? more?"


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_shows_a_name_as_it_is(name):
    figure = matplotlib.figure.Figure((2, 2))
    axes = figure.add_subplot()
    axes.plot([1, 2], label="0")
    axes.set_title(f"{name} 58%, is {name}")
    axes.set_yticks([0, 1], [name, name])
    axes.set_xscale("log")
    figures.legend(axes, [name])
    assert figures.rendered(figure).shape == (220, 220, 3)
    shown = figure.findobj(lambda part: isinstance(part, matplotlib.text.Text) and name in part.get_text())
    assert len(shown) >= 4 and not any(text.get_parse_math() for text in shown)  # title, two ticks and the legend


def test_powers_of_ten_beside_an_axis_are_set_as_such():
    figure = matplotlib.figure.Figure((2, 2))
    axes = figure.add_subplot()
    axes.semilogy([1, 1e6])
    figures.rendered(figure)
    shown = [text for text in axes.get_yticklabels() if text.get_text()]
    assert shown and all(text.get_parse_math() for text in shown)


def test_the_projector_has_a_line_for_each_point(tmp_path):
    cells = ["two\nlines", "a\tb", "a\u2028b\x85c", "", "$5"]
    tensorboard.projector(tmp_path, "words", np.eye(5), [{"word": cell} for cell in cells])
    written = (tmp_path / "projector" / "words" / "metadata.tsv").read_text(encoding="utf-8")
    assert written == "two lines\na b\na b c\n(empty)\n$5\n"
