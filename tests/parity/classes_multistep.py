def runs():
    for name in ("DPMSolverMultistepScheduler","UniPCMultistepScheduler","DEISMultistepScheduler", "SASolverScheduler"):
        yield {"class": name, "config": {}, "run": {"steps": 5}}
