from profiler.system.processor import vector_instructions


def test_the_widest_vectors_are_named(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags\t\t: fpu sse4_2 avx avx2 fma\n")
    assert vector_instructions(cpuinfo) == "avx2"
    cpuinfo.write_text("flags\t\t: sse4_2 avx avx2 avx512f avx512vl\n")
    assert vector_instructions(cpuinfo) == "avx512f"
    cpuinfo.write_text("Features\t: fp asimd\n")
    assert vector_instructions(cpuinfo) == "asimd"


def test_what_the_system_does_not_tell_is_none(tmp_path):
    assert vector_instructions(tmp_path / "none") is None
