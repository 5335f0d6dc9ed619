"""Runs of the classes in σ."""


def runs():
    yield {"class": "EulerDiscreteScheduler", "config": {}, "run": {"steps": 5}, "scale": "ve"}
