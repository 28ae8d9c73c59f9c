"""Invoices as PDF files.

`service` fills a `document`, and the `pool` sends it to a process: there `renderer` has `layout` place the
header, the table, the totals and the footer, with the fonts and line breaks of `typesetting`, and `pdf`
write the file. They run in processes of their own because rendering a page holds the interpreter.
"""
