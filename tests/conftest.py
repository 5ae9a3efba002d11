pytest_plugins = ["tests.vendor.fixture"]
