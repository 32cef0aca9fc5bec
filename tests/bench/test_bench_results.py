"""From values to verdicts, tables and the section of the documentation; and one tiny run of the harness."""

import json
from pathlib import Path

import pytest

from bench.__main__ import parse, plan_of
from bench.memory import STREAMS_PER_CONNECTION
from bench.peers import Raw
from bench.plan import FIGURES, MIB, QUICK, Plan, Results, decode_results
from bench.report import BEGIN, END, figure_rows, markdown, replace_section, target_rows
from bench.run import SUITE_NAMES, Run, makers
from bench.suites import SUITES
from bench.targets import HYPERION, RELAY, SSH_AES, SSH_CHACHA, TARGETS, Target, judge, judge_one
from bench.tunnel import Options


class TestResults:
    def test_every_figure_of_a_target_exists(self) -> None:
        assert {target.figure for target in TARGETS} <= set(FIGURES)
        assert {target.peer for target in TARGETS if target.peer} == {RELAY, SSH_CHACHA, SSH_AES}

    def test_peers_carry_the_names_the_targets_use(self, tmp_path: Path) -> None:
        for name, make in makers(Options()).items():
            assert make(tmp_path / name).name == name

    @pytest.mark.parametrize(
        ("ours", "bound", "met"),
        [(130, 1.25, True), (120, 1.25, False), (125, 1.25, True)],
        ids=["more", "less", "equal"],
    )
    def test_more_is_better(self, ours: float, bound: float, met: bool) -> None:
        results = Results(values={"bulk-up": {HYPERION: [ours], RELAY: [100.0]}})
        assert judge_one(results, Target("bulk-up", bound, RELAY)).met is met

    @pytest.mark.parametrize(("ours", "met"), [(7.9, True), (8.1, False)])
    def test_less_is_better(self, ours: float, met: bool) -> None:
        results = Results(values={"worker-memory": {HYPERION: [ours]}})
        assert judge_one(results, Target("worker-memory", 8)).met is met

    def test_what_was_not_measured_is_not_met(self) -> None:
        results = Results(values={"bulk-up": {HYPERION: [1.0]}})
        assert [verdict.met for verdict in judge(results)] == [False, False, False]

    def test_a_run_without_hyperion_is_not_judged(self) -> None:
        assert judge(Results(values={"bulk-up": {RELAY: [1.0]}})) == []

    def test_values_come_back_from_json(self) -> None:
        results = Results({"cores": "2"}, {"repetitions": 1}, {}, ["bulk, raw: broken"])
        results.add(HYPERION, {"bulk-up": 1.5})
        assert decode_results(json.loads(json.dumps(results.encode()))) == results

    @pytest.mark.parametrize("data", [{"schema": 0}, {"schema": 1, "values": {"no-such-figure": {}}}])
    def test_other_json_is_refused(self, data: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=r"schema|unknown figures"):
            decode_results(data)

    def test_rows(self) -> None:
        values = {"bulk-up": {RELAY: [200.0, 200.0, 200.0], HYPERION: [90.0, 100.0, 110.0]}}
        results = Results(values=values)
        assert figure_rows(results) == [
            ["figure", "unit", HYPERION, RELAY],
            ["bulk up, 1 stream", "MB/s", "100 ±10 %", "200 ±0 % (x0.50)"],
        ]
        assert target_rows(results)[-1] == ["bulk up, 1 stream", ">= 0.5 x uvloop relay", "0.50", "met"]

    def test_only_the_section_between_the_marks_is_replaced(self) -> None:
        results = Results(values={"bulk-up": {HYPERION: [1.0]}})
        once = replace_section(f"before\n{BEGIN}\nold\n{END}\nafter\n", markdown(results))
        assert once.startswith(f"before\n{BEGIN}\n")
        assert once.endswith(f"{END}\nafter\n")
        assert "old" not in once
        assert replace_section(once, markdown(results)) == once

    def test_a_document_without_marks_is_refused(self) -> None:
        with pytest.raises(ValueError, match="needs the lines"):
            replace_section("text", "section")


class TestRun:
    def test_options_change_the_plan(self) -> None:
        assert plan_of(parse([])) == Plan()
        assert plan_of(parse(["--quick"])) == QUICK
        assert plan_of(parse(["--repetitions", "2", "--bulk-mib", "3"])) == Plan(repetitions=2, bulk_bytes=3 * MIB)

    def test_pool_takes_all_idle_streams(self) -> None:
        assert STREAMS_PER_CONNECTION < 512

    def test_suites_on_the_raw_peer_give_every_figure(self, tmp_path: Path) -> None:
        said: list[str] = []
        run = Run(QUICK, Options(), tmp_path, said.append)
        results = run.run([suite.name for suite in SUITES], ["raw loopback"])
        assert results.failures == []
        assert results.peers() == [Raw().name]
        assert all(value > 0 for values in results.values.values() for value in values[Raw().name])
        assert len(results.values) == 9
        assert set(said) == {f"{suite.name} 1/1" for suite in SUITES}
        assert set(SUITE_NAMES) > {suite.name for suite in SUITES}
