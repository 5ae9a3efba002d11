"""Measurements that print ratios to a limit of the same run; never part of the tests."""
