"""The images page in Airflow's own UI, served by the API server of Airflow 3.1 and later.

::

    plugin ─(first request)→ app → access   who may see it: Airflow's own checks
                                 → xcoms    what was recorded, from the metadata database
                                 → records  one image's record, cleaned: anybody may have pushed it
                                 → files    the image's bytes, from where it was saved
                                 → pages    HTML
    urls: where the pages are; the operators' extra link uses it on the worker
"""
