"""The explorer in a notebook: controls, the picture they move, and its state as a line of code."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

import ipywidgets as widgets

from lossbench.explorer.comparison import Comparison
from lossbench.explorer.controls import STYLE, WIDE, SideControls
from lossbench.explorer.later import Later
from lossbench.explorer.measure import CROSSED, Measured, measure
from lossbench.explorer.moons_picture import MoonsPicture
from lossbench.explorer.panels import LEFT, RIGHT
from lossbench.explorer.picture import CurvePicture
from lossbench.explorer.presets import PRESETS
from lossbench.explorer.still import Still

REST = 0.25  # seconds without a move before the networks are trained again
ROW = widgets.Layout(flex_flow="row wrap", width="100%")


class Explorer:
    """Two losses side by side, with a slider for everything. Show it by making it the last line of a cell.

    `comparison` is what is shown, `code` the line that shows it again. Moving a control redraws the curves at once
    and trains the two networks again when the controls rest.
    """

    def __init__(self, comparison: Comparison, preset: str = "") -> None:
        self.comparison = comparison
        self.start = comparison
        self.curve_picture, self.moons_picture = CurvePicture(), MoonsPicture()
        self.quiet = False
        self._build_controls(preset)
        self.pictures = [widgets.Image(format="png", layout=_picture(250, 400)) for _ in range(3)]
        self.surfaces = [widgets.Image(format="png", layout=_picture(300, 520)) for _ in range(2)]
        self.words, self.line = widgets.HTML(), widgets.Textarea(rows=2, layout=widgets.Layout(width="100%"))
        self.later = Later(self._retrain_in_pieces, REST)
        self.box = self._assemble()
        self.trained = False
        self.redraw()

    @property
    def code(self) -> str:
        """The call of `explore` that shows the present state again."""
        preset = self.preset.value
        return self.comparison.code(preset, PRESETS[preset].comparison if preset else None)

    def redraw(self) -> None:
        """Draw the curves of what the controls say, or say why that cannot be drawn."""
        try:
            comparison = self._read()
            measured = measure(comparison)
        except ValueError as error:
            self.words.value = f"<p><b>Not drawn:</b> {html.escape(str(error))}</p>"
            return
        self.comparison = comparison
        self.curve_picture.draw(comparison, measured)
        for image, png in zip(self.pictures, self.curve_picture.strips(), strict=True):
            image.value = png
        self.words.value = self._report(measured)
        self.line.value = self.code

    def retrain(self) -> None:
        """Train both networks on the two moons and draw their surfaces."""
        for _ in self._retrain_in_pieces():
            pass

    def _retrain_in_pieces(self) -> Iterator[None]:
        self.trained = True
        yield from self.moons_picture.draw(self.comparison)
        for image, png in zip(self.surfaces, self.moons_picture.strips(), strict=True):
            image.value = png

    def close(self) -> None:
        """Take the explorer out of the page and free its widgets."""
        self.box.close_all()

    def still(self) -> Still:
        """The present picture without controls."""
        if not self.trained:
            self.retrain()
        preset = PRESETS.get(self.preset.value)
        pictures = (self.curve_picture.png(), self.moons_picture.png())
        return Still(self.comparison, measure(self.comparison), *pictures, look=preset.look if preset else "")

    def _ipython_display_(self) -> None:
        from IPython import display

        # Where the widget is alive, the still picture below it is hidden; an exported page has only the picture.
        name = f"lossbench-{self.box.model_id[:12]}"
        self.box.add_class(name)
        bundle = {**self.box._repr_mimebundle_(), "text/plain": f"{self.code}: needs a kernel; below is its first view"}
        display.display(bundle, raw=True)  # type: ignore[no-untyped-call]
        hide = f"<style>body:has(.{name}) .{name}-still {{ display: none }}</style>"
        still = f'{hide}<div class="{name}-still">{self.still().to_html()}</div>'
        display.display(display.HTML(still))  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        return self.code

    def _build_controls(self, preset: str) -> None:
        now = self.comparison
        options = [("none", ""), *((one.title, name) for name, one in PRESETS.items())]
        self.preset = widgets.Dropdown(options=options, value=preset, description="preset", style=STYLE, layout=WIDE)
        self.axis = _menu("along", [("probability p", "p"), ("logit z", "z")], now.axis)
        self.scale = _menu("scale", [("linear", "linear"), ("log of the size", "log")], now.scale)
        self.num_classes = _slider(widgets.IntSlider, "classes", now.num_classes, 2, max(100, now.num_classes), 1)
        self.noise = _slider(widgets.FloatSlider, "flipped", now.noise, 0.0, 0.5, 0.05)
        self.seed = _slider(widgets.IntSlider, "seed", now.seed, 0, max(20, now.seed), 1)
        self.left = SideControls("left", LEFT, now.left, self._on_move)
        self.right = SideControls("right", RIGHT, now.right, self._on_move)
        self.preset.observe(self._on_preset, "value")
        for control in (self.axis, self.scale, self.num_classes):
            control.observe(self._on_move, "value")
        for control in (self.noise, self.seed):
            control.observe(self._on_moons, "value")

    def _assemble(self) -> Any:
        choices = (self.preset, self.axis, self.scale, self.num_classes)
        top = widgets.Box([_cell(choice, 2 if choice is self.preset else 1) for choice in choices], layout=ROW)
        sides = widgets.Box([self.left.box, self.right.box], layout=ROW)
        moons = widgets.Box([_cell(self.noise), _cell(self.seed)], layout=ROW)
        title = widgets.HTML("<b>Two moons:</b> the same small network, trained with either loss when the sliders rest")
        parts = [top, sides, widgets.Box(self.pictures, layout=ROW), self.words, title, moons]
        parts += [widgets.Box(self.surfaces, layout=ROW), widgets.HTML("<b>This view as code</b>"), self.line]
        box = widgets.VBox(parts, layout=widgets.Layout(width="100%"))
        box.add_class("lossbench-explorer")
        return box

    def _read(self) -> Comparison:
        return Comparison(
            self.left.read(),
            self.right.read(),
            self.start.others,
            axis=self.axis.value,
            scale=self.scale.value,
            num_classes=self.num_classes.value,
            noise=self.noise.value,
            seed=self.seed.value,
        )

    def _on_move(self, _: Any = None) -> None:
        if not self.quiet:
            self.redraw()
            self.later.ask()

    def _on_moons(self, _: Any) -> None:
        if not self.quiet:
            self.comparison = self._read()
            self.line.value = self.code
            self.later.ask()

    def _on_preset(self, _: Any) -> None:
        name = self.preset.value
        self.start = PRESETS[name].comparison if name else Comparison()
        self.quiet = True
        try:
            self.left.write(self.start.left)
            self.right.write(self.start.right)
            for control in ("axis", "scale", "num_classes", "noise", "seed"):
                getattr(self, control).value = getattr(self.start, control)
        finally:
            self.quiet = False
        self._on_move()

    def _report(self, measured: Measured) -> str:
        lines = [measured.sentence(quantity, self.comparison.axis) for quantity in CROSSED]
        shares = [f"{pull.share_of_wrong:.0%}" for pull in measured.pulls]
        lines.append(f"pull on the batch that goes to wrongly classified images: left {shares[0]}, right {shares[1]}")
        preset = PRESETS.get(self.preset.value)
        look = f"<p><i>{html.escape(preset.look)}</i> ({html.escape(preset.source)})</p>" if preset else ""
        rows = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
        return f'<div role="status" style="line-height: 1.4">{look}<ul style="margin: 0">{rows}</ul></div>'


def _picture(least: int, most: int) -> Any:
    return widgets.Layout(flex=f"1 1 {least}px", width="auto", max_width=f"{most}px", min_width="0", height="auto")


def _cell(control: Any, grow: int = 1) -> Any:
    return widgets.Box(
        [control], layout=widgets.Layout(flex=f"{grow} 1 {130 + 90 * grow}px", min_width="0", flex_flow="column")
    )


def _menu(description: str, options: list[tuple[str, str]], value: str) -> Any:
    return widgets.Dropdown(options=options, value=value, description=description, style=STYLE, layout=WIDE)


def _slider(kind: Any, description: str, value: float, low: float, high: float, step: float) -> Any:
    return kind(value=value, min=low, max=high, step=step, description=description, style=STYLE, layout=WIDE)
