"""Generated requests: /api/search answers each as its OpenAPI description says and rejects those of another form."""

import pytest
from hypothesis import HealthCheck, given, settings

schemathesis = pytest.importorskip("schemathesis", reason="not in a browser; `make browser` runs these")

SETTINGS = settings(
  max_examples=30, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
def test_search_answers_as_described(site, mode):
  schema = schemathesis.openapi.from_url(f"{site.url}/api/openapi.json")
  statuses = set()

  @SETTINGS
  @given(schema["/api/search"]["POST"].as_strategy(generation_mode=schemathesis.GenerationMode[mode]))
  def check(case):
    # A request can be of the described form and have no answer, as for too many tokens or an unknown image.
    response = case.call_and_validate(excluded_checks=[schemathesis.checks.positive_data_acceptance])
    statuses.add(response.status_code)

  check()
  assert statuses >= ({200, 422} if mode == "POSITIVE" else {422})
  assert mode == "POSITIVE" or 200 not in statuses
