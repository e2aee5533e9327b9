"""The service without Airflow: what is asked, how it looks on the wire, who sends it, how long to wait.

Import from the modules below; nothing is imported here, so that a DAG file pays only for what it uses.
"""
