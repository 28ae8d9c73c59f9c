"""Invoices as PDF files.

`service` fills a `document`, and a `queue` in each process that serves requests sends it to the one
`renderer_process` of all of them: there `renderer` has `layout` place the header, the table, the totals and
the footer, with the fonts and line breaks of `typesetting`, and `pdf` write the file. They run in a process
of their own because rendering a page holds the interpreter.
"""
