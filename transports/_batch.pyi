# The compiled module has the face of the plain one; that is all that type checkers need to know.
from ringproto.transports._plain import Receiver as Receiver
from ringproto.transports._plain import Sender as Sender
