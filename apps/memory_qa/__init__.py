"""Answers questions about stories and knowledge bases with memory networks.

    python -m apps.memory_qa
    python -m apps.memory_qa --dataset babi --manual-dir DATA
    python -m apps.memory_qa table --dataset babi --manual-dir DATA
    python -m apps.memory_qa predict story.txt

Data:    simulated_world (embedded), babi (1,000 questions per task), babi/en-10k, metaqa/1-hop, metaqa/2-hop,
         pathquestion/2-hop, pathquestion/3-hop.

Result:  test error by task; see RESULTS.md.
"""
