"""The benchmarks: ``python -m hotloop bench``.

Nothing here is imported by ``import hotloop``. The measured programs run as child processes that
enter by entry.py, which gives these modules another package name, so that a child on another loop
does not load hotloop.

=====================  ==========================================================
catalogue              every scenario: what is measured, how, and its target
command                the command line, the order of the measurements
measurements           one measurement of each kind, in child processes
results, report        ratios, JSON, the table, the page; charts draws the SVG
entry, child           the children's side: how they begin, what they say
callbacks, tasks,      programs that time themselves
trees, waiting,
pairs, clients
servers, streams, web  programs that are put under load
load                   the load, in Python, where the native one was not built
=====================  ==========================================================
"""
