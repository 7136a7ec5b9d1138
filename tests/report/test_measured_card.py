from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from edgeprune.benchmark.records import DeviceRow
from edgeprune.report.measured_card import measured_card
from tests.support.reports import latency, report

HOSTILE = "a|b\n---\n<img src=x> [link](y) {{ 7 * 7 }} `code` a: - &b \x1b[31m"


def card() -> str:
    """A package's own card."""
    accuracy = EvalResult("text-classification", "unknown", "test rows", "accuracy", 0.895, dataset_split="test")
    data = ModelCardData(license="mit", model_name="reviews", eval_results=[accuracy])
    return f"---\n{data.to_yaml()}\n---\n\n# reviews\n\nIts own words.\n"


def read(text: str, folder: Path) -> ModelCard:
    path = folder / "card.md"
    path.write_text(text, encoding="utf-8")
    return ModelCard.load(path)


def test_times_and_the_size_are_results_with_their_intervals(tmp_path: Path) -> None:
    final = latency("final", 2.0, p50_interval_ms=(1.95, 2.07))
    found = read(measured_card(card(), report(latency=[latency("dense-fp32", 8.0), final])), tmp_path)
    assert (found.data.license, found.data.model_name) == ("mit", "reviews")
    results = {one.metric_type: one for one in found.data.eval_results}
    assert {name: one.metric_value for name, one in results.items()} == {
        "accuracy": 0.895,
        "package_size_mb": 11.25,
        "latency_p50_ms": 2.0,
        "latency_p90_ms": 4.0,
    }
    assert results["latency_p50_ms"].metric_args == {
        "device": "Some CPU",
        "provider": "CPUExecutionProvider",
        "threads": 1,
        "batch_size": 1,
        "samples": 100,
        "interval_95": [1.95, 2.07],
    }
    assert "interval_95" not in results["latency_p90_ms"].metric_args
    assert {one.dataset_name for one in results.values()} == {"test rows"}


def test_the_packages_own_words_stay_and_a_table_is_added(tmp_path: Path) -> None:
    text = read(measured_card(card(), report()), tmp_path).text
    assert "\n# reviews\n\nIts own words.\n\n## Measured\n\nMeasured on Some CPU (x86" in text
    assert text.endswith("| accuracy | 91.0% | 89.5% |\n")


def test_what_was_not_measured_has_no_time(tmp_path: Path) -> None:
    found = read(measured_card(card(), report(latency=[], device=None)), tmp_path)
    assert [one.metric_type for one in found.data.eval_results] == ["accuracy", "package_size_mb"]
    assert "No time was measured on cpu-x86-avx2." in found.text


def test_a_devices_name_can_be_any_text(tmp_path: Path) -> None:
    device = DeviceRow(arch="x86_64", isa=(), cpu=HOSTILE, cores=4, system="Linux", python=None, onnxruntime=None)
    found = read(measured_card(card(), report(device=device)), tmp_path)
    assert found.data.eval_results[-1].metric_args["device"] == HOSTILE
    assert r"a\|b --- \<img src=x\> \[link\](y) {{ 7 \* 7 }} \`code\` a: - \&b \\x1b\[31m" in found.text
