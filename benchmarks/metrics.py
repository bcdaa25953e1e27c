"""Measures time and memory of the retrieval metrics at the size of a public test split, including the similarities.

  python -m benchmarks.metrics --split=icfg

It times `metrics.retrieval_metrics`, from unnormalised embeddings to the five metrics (percent). The embeddings are
those of the reference's script, so the metrics must be equal too. Memory is the increase of the process' peak over its
memory before the first call. Prints a line of JSON.
"""

import argparse
import time

from benchmarks import measuring
from benchmarks.peer import synth
from tireid_jax import metrics


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--split", choices=sorted(synth.SPLITS), default="cuhk", help="test split of the same size")
  parser.add_argument("--repeat", type=int, default=3, help="timed runs; the median is printed")
  args = parser.parse_args()
  texts, images, query_ids, gallery_ids = synth.retrieval(*synth.SPLITS[args.split])
  measuring.forget_peak()
  before = measuring.memory_mib("VmRSS")
  seconds = []
  for _ in range(args.repeat):
    began = time.perf_counter()
    percentages = metrics.retrieval_metrics(texts, images, query_ids, gallery_ids)
    seconds.append(time.perf_counter() - began)
  measuring.emit(
    bench="metrics", system="tireid_jax", split=args.split, **measuring.spread(seconds), rss_before_mib=round(before),
    peak_beyond_mib=round(measuring.memory_mib("VmHWM") - before, 1), **percentages,
  )  # fmt: skip


if __name__ == "__main__":
  main()
