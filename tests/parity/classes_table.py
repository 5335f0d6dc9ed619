"""Runs of the classes that walk a table of β in t: DDIM, DDPM, PNDM, LCM, TCD."""

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}  # fmt: skip


def runs():
    for spacing in ("leading", "trailing", "linspace"):
        for steps in (1, 2, 5, 10, 20):
            yield {"class": "DDIMScheduler", "config": SD | {"timestep_spacing": spacing}, "run": {"steps": steps}}
