"""What the fakes of other people's services share: scripted answers, faults on the wire, the control."""
