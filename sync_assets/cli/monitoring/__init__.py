"""What is known of all tables at one moment, in the forms that monitors and people watch.

In go configured tables; out come numbers: OpenMetrics text, over HTTP or in a file, or a page on the
terminal. It may not decide what is wrong with a table, which `hindrances` does, nor change anything.
"""
