from hypothesis import settings

pytest_plugins = ["tests.vendor.fixture", "tests.servers.postgres", "tests.servers.redis"]

# The same examples in every run, however busy the machine: a red run is a change's doing.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")
