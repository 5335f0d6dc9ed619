def runs():
    yield {"class": "FlowMatchEulerDiscreteScheduler", "config": {"shift": 3.0}, "run": {"steps": 5}, "scale": "flow"}
