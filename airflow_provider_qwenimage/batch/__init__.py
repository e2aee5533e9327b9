"""Many generations in one task: read, checked, bought, waited for and saved by one pipeline on the worker.

``rows`` → ``items`` → ``index`` (what is asked for, in a temporary SQLite file) → ``pipeline`` (``gate``, ``saving``)
→ ``manifest``. What was bought stands in the ``ledger`` beside the images, so that the next try of the task goes on.
"""
