"""Few examples, and always the same ones: what passes today passes tomorrow."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "same",
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("same")
