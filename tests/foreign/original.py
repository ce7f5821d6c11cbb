"""`network-stats` of the Python original, unmodified but for the address of the image registry.

    original.py REGISTRY_URL CLUSTER_FILE [OPTION ...]
"""

import sys

import aiohttp
from ray_on_golem.network_stats.main import main

OFFICIAL = "https://registry.golem.network"

registry, *arguments = sys.argv[1:]
look_up = aiohttp.ClientSession.get


def get(session, url, **options):
    """Asks another registry; all else is asked as it is."""
    return look_up(session, str(url).replace(OFFICIAL, registry), **options)


aiohttp.ClientSession.get = get
main(arguments)
