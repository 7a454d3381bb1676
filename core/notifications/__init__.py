"""Notifications of the feeds: one change of one resident, batches of them in columns, what may be wrong with one."""

from jukinet.core.notifications.batch import NotificationBatch
from jukinet.core.notifications.fault import Fault, fault_of, faults_of
from jukinet.core.notifications.notification import Notification

__all__ = ["Fault", "Notification", "NotificationBatch", "fault_of", "faults_of"]
