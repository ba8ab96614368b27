"""Holds a dialogue to book a table: selects each response, or API call, from a list of candidates.

    python -m apps.dialog
    python -m apps.dialog --dataset dialog_babi/task5 --manual-dir DATA
    python -m apps.dialog chat
    python -m apps.dialog predict dialogue.txt

Data:    restaurant_booking (embedded), dialog_babi/task1 … dialog_babi/task6.

Result:  accuracy per response and per dialogue, on the test split and on a second one with cuisines, places and restaurants
         that do not occur in training; see RESULTS.md.
"""
