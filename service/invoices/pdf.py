"""An invoice as a PDF file."""

import io
from datetime import UTC
from typing import Final

from reportlab import rl_config
from reportlab.lib.colors import HexColor
from reportlab.pdfbase.ttfonts import shapeStr
from reportlab.pdfgen.canvas import Canvas

from service.invoices.document import Document
from service.invoices.layout import HEIGHT, RIGHT, WIDTH, Page, Words, lay_out, left_of
from service.invoices.typesetting import load, plain, runs

LANGUAGE: Final = "en"
rl_config.useA85 = 0  # which would write every stream as text, a quarter longer


def render(document: Document) -> bytes:
    """The file; its bytes follow from the document alone."""
    load()
    target = io.BytesIO()
    canvas = Canvas(target, pagesize=(WIDTH, HEIGHT), pageCompression=1, invariant=1, lang=LANGUAGE)
    changed_at = document.changed_at.astimezone(UTC).strftime("D:%Y%m%d%H%M%S+00'00'")
    canvas.setDateFormatter(lambda *_: changed_at)
    seller = plain(document.seller[0]) if document.seller else ""
    canvas.setTitle(f"Invoice {document.number}")
    canvas.setAuthor(seller)
    canvas.setCreator("Tradepost")
    canvas.setViewerPreference("DisplayDocTitle", "true")
    for page in lay_out(document):
        _draw(canvas, page)
        canvas.showPage()
    canvas.save()
    return target.getvalue()


def _draw(canvas: Canvas, page: Page) -> None:
    for rule in page.rules:
        canvas.setStrokeColor(HexColor(rule.colour))
        canvas.setLineWidth(rule.thickness)
        canvas.line(rule.left, HEIGHT - rule.y, RIGHT, HEIGHT - rule.y)
    for words in page.words:
        _write(canvas, words)


def _write(canvas: Canvas, words: Words) -> None:
    text = canvas.beginText(left_of(words), HEIGHT - words.baseline)
    text.setFillColor(HexColor(words.colour))
    for run in runs(words.text, words.font):
        text.setFont(run.font, words.size)
        text.textOut(shapeStr(run.text, run.font, words.size) if run.has_marks else run.text)
    canvas.drawText(text)
