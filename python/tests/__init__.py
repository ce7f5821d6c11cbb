"""Tests of the node provider: `python -m unittest discover -s python/tests -t python` from the project's directory.

Those in `test_ray_*` need Ray and are skipped without it; `python/run-tests` runs all with each version of Ray.
"""
