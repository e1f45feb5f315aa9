"""How many threads compute."""

from minivgg import backend


def test_what_is_no_number_of_threads_is_not_heeded(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    everything = backend.cores()
    for text in ("²", "0", "-1", "many", ""):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert backend.cores() == everything
    monkeypatch.setenv("OMP_NUM_THREADS", "1,2")  # nested regions, as OpenMP has it: the first is ours
    assert backend.cores() == 1
