"""The command, as `python -m tests.command`: several processes are started by running it again."""

from seq2onnx.cli import main

if __name__ == "__main__":
    main()
