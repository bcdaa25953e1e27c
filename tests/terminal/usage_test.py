"""What `--help` prints."""

from absl import flags
from ml_collections import ConfigDict, config_flags

from tireid_jax.terminal.usage import format_usage


def test_flags_are_sorted_and_shown_with_help_and_default():
  values = flags.FlagValues()
  flags.DEFINE_string("stage", "all", "0, 1, 2 or all", values)
  flags.DEFINE_string("workdir", "", "folder of results", values)
  flags.DEFINE_bool("multihost", False, "one of several processes", values)
  config_flags.DEFINE_config_dict("config", ConfigDict({"seed": 0}), "fields of the run", values)
  flags.DEFINE_list("seeds", ["0", "1"], "seeds to run", values)
  assert format_usage("Trains.\n\nmain --stage=1\n", [values[name] for name in values if "." not in name]) == (
    "Trains.\n\nmain --stage=1\n\nflags:\n"
    "  --config=VALUE\n      fields of the run\n"
    "  --[no]multihost\n      one of several processes\n"
    "  --seeds=VALUE\n      seeds to run (default: 0,1)\n"
    "  --stage=VALUE\n      0, 1, 2 or all (default: all)\n"
    "  --workdir=VALUE\n      folder of results"
  )
