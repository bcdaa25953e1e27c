"""Wall time and peak memory of the peer's retrieval metrics, including the similarity product.

IRRA_DIR=... python metrics.py --split cuhk
IRRA_DIR=... python metrics.py --split icfg        (needs about 16 GiB free)
"""

import argparse
import sys

import irra
import report
import synth
import torch
import torch.nn.functional as F


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--split", choices=sorted(synth.SPLITS), default="cuhk", help="test split of the same size")
  parser.add_argument("--queries", type=int)
  parser.add_argument("--gallery", type=int)
  parser.add_argument("--identities", type=int)
  parser.add_argument("--dim", type=int, default=512)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--repeat", type=int, default=1)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--even-if-short", action="store_true", help="run although the free memory looks too small")
  args = parser.parse_args()
  default = synth.SPLITS[args.split]
  queries, gallery, identities = (args.queries or default[0], args.gallery or default[1], args.identities or default[2])
  # the peer's peak memory per similarity: one float32, three int64 and one or two more float32 values
  need = queries * gallery * 38 / 2**20 + 500
  if need > report.available_mib() and not args.even_if_short:
    sys.exit(f"about {need:.0f} MiB needed, {report.available_mib():.0f} MiB available (--even-if-short runs it)")

  irra.locate()
  from utils.metrics import rank

  torch.set_num_threads(args.threads)
  load = report.machine()
  texts, images, query_ids, gallery_ids = synth.retrieval(queries, gallery, identities, args.dim, args.seed)
  texts, images = torch.from_numpy(texts), torch.from_numpy(images)
  query_ids, gallery_ids = torch.from_numpy(query_ids), torch.from_numpy(gallery_ids)
  product, ranking = [], []
  fresh = report.forget_peak()
  before = report.rss_mib()
  for _ in range(args.repeat):
    with report.Clock() as clock:
      similarity = F.normalize(texts, p=2, dim=1) @ F.normalize(images, p=2, dim=1).t()
    product.append(clock.seconds)
    with report.Clock() as clock, irra.quiet():
      cmc, mean_ap, mean_inp, indices = rank(
        similarity=similarity, q_pids=query_ids, g_pids=gallery_ids, max_rank=10, get_mAP=True
      )
    ranking.append(clock.seconds)
    del similarity, indices
  whole = report.spread([a + b for a, b in zip(product, ranking, strict=True)])
  report.emit(
    {
      "bench": "metrics",
      "system": "irra",
      "torch": torch.__version__,
      "split": args.split,
      "queries": queries,
      "gallery": gallery,
      "identities": identities,
      "dim": args.dim,
      "threads": args.threads,
      **whole,
      "similarity_s": report.spread(product)["median_s"],
      "rank_s": report.spread(ranking)["median_s"],
      "rss_before_mib": round(before),
      "peak_rss_mib": round(report.peak_mib()),
      "peak_is_of_metrics_only": fresh,
      "R1": round(cmc[0].item(), 4),
      "R5": round(cmc[4].item(), 4),
      "R10": round(cmc[9].item(), 4),
      "mAP": round(mean_ap.item(), 4),
      "mINP": round(mean_inp.item(), 4),
      **load,
    }
  )


if __name__ == "__main__":
  main()
