"""Talks with a person to book a table: chooses each response, or API call, among all candidates.

    python -m apps.dialog
    python -m apps.dialog --dataset dialog_babi/task5 --manual-dir DATA
    python -m apps.dialog chat
    python -m apps.dialog predict dialogue.txt

Data:    restaurant_booking (embedded), dialog_babi/task1 … dialog_babi/task6.

Result:  share of correct responses and of dialogues without a wrong one, on the test split and on the one with
         cuisines, places and restaurants that training never shows; see RESULTS.md.
"""
