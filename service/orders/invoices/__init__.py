"""Invoices as PDF files: what stands on one, how it is drawn, and the processes that draw.

`document` and `pool` are for the service; `text`, `pages`, `drawing` and `process` run in processes of
their own, because a page takes the interpreter for as long as it takes.
"""
