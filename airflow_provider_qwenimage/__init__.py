"""Apache Airflow provider for Qwen Image, the image model that Pixwith serves over REST.

Nothing is imported here: Airflow loads this module in every one of its processes.
"""

__version__ = "0.1.0"
