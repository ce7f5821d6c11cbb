"""Ray on Golem, as Ray sees it.

Ray loads `ray_on_golem.provider.node_provider.GolemNodeProvider` and asks it for nodes. The provider decides nothing: it
passes what Ray says to the webserver (`ray-on-golem webserver`), which rents, watches, and pays the nodes.

The package uses the standard library only, since it is also copied to head nodes, whatever image they run. Ray is
imported by `ray_on_golem.provider` alone, so that `import ray_on_golem` works without it.
"""

__version__ = "1.0.0"
